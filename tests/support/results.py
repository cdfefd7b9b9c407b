"""Make pictures in the simulated Discord, and wait for them."""


async def made(server, command="imagine", member=None, **options):
    """Return the message with the finished pictures of a command."""
    given = {"prompt": "red apple", "steps": 3} | options
    result = await (member or server.alice).slash(server.channel, command, **given)
    return await finished(server, result, options.get("count", 1))


async def finished(server, result, pictures=1):
    """Return the message of ``result`` once it shows its pictures and nothing is under way."""
    await server.until_finished(result.response, pictures)
    await server.until_idle()
    return result.response
