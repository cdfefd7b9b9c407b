"""Many members use the bot for a long time."""
