"""A long run of the bot with many members."""
