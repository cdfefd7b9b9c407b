"""A server whose pictures are flagged, and what moderators do about them."""

from cogs.core.generation.safety_gate import AWAITING_REVIEW, NOT_SHOWN, REJECTED
from cogs.core.request.preferences import Preferences, Scope
from tests.support.messages import pictures_of, text_of

SPOILERS = "as spoilers"
SENTENCES = {AWAITING_REVIEW: "held", NOT_SHOWN: "refused", REJECTED: "deleted"}


def flag_all(images):
    return [{"nsfw": 0.93}] * len(images)


async def set_rules(server, **rules):
    await server.service.preference_store.set(Scope.SERVER, server.guild.id, Preferences(**rules))


async def ask(server, actor=None, channel=None, command="imagine", **options):
    result = await (actor or server.alice).slash(
        channel or server.channel, command, **{"prompt": "red apple", "steps": 2, "seed": 5} | options
    )
    await server.until_idle()
    return result.response


async def ask_and_hold(server, **options):
    """Ask for pictures that are held; gives their message and the one that asks the moderators."""
    await set_rules(server, moderators=server.moderators.id)
    return await ask(server, **options), review_message(server)


def review_message(server):
    """The message that asks the moderators, as it is now."""
    (message,) = server.moderators.history()
    return message


def outcome_of(message):
    if pictures_of(message):
        return SPOILERS if is_spoiler(message) else "pictures"
    return next(seen for sentence, seen in SENTENCES.items() if sentence in text_of(message))


def is_spoiler(message):
    galleries = [component for component in getattr(message, "message", message).components if hasattr(component, "items")]
    return [item.spoiler for image_store in galleries for item in image_store.items] == [True]


async def decide(server, question, label, actor=None):
    result = await (actor or server.mia).click(question, label=label)
    await server.until_idle()
    return result
