"""How soon the results of many requests in one channel reach their members, by the route of their edits."""
