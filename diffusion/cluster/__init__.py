"""The engine on other machines: replicas of it on Ray Serve, and the face of them all in the bot.

The bot speaks HTTP with Serve's proxy, in JSON and PNG files alone: it never imports Ray, and no pickle passes between them.
"""
