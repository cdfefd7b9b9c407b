"""The engine on other machines: replicas on Ray Serve, and the bot's client.

The bot exchanges JSON and PNG files with Serve's proxy over HTTP. It never imports Ray, and nothing is pickled.
"""
