"""What a message shows, and files to send in one."""

import io

import discord
from PIL import Image

from cogs.core.messages.attachments import posted_files
from diffusion.images.io import to_png
from diffusion.images.parameters import format_parameters
from diffusion.request import ImageRequest


def files_of(message):
    """The files that a message shows."""
    return posted_files(getattr(message, "message", message))


def pictures_of(message):
    """The finished pictures that a message shows."""
    return [file for file in files_of(message) if file.name.startswith("darkroom")]


def source_of(message):
    """The picture that those of a message started from."""
    return next(file for file in files_of(message) if file.name.startswith("source"))


def text_of(message):
    """All that a message says."""
    shown = getattr(message, "message", message)
    return "\n".join([shown.content, *_texts(shown.components)])


def _texts(components):
    for component in components:
        if hasattr(component, "content"):
            yield component.content
        yield from _texts(getattr(component, "children", ()))


def png(size=(40, 30), colour="red"):
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


async def posted_before(server, *actions, **settings):
    """A message as it was posted before there were layouts: with attachments and buttons that name no creation."""
    request = ImageRequest("red apple", width=32, height=32, steps=8, **settings)
    file = discord.File(
        io.BytesIO(to_png(Image.new("RGB", (32, 32), "red"), format_parameters(request, 0, "tiny"))), "darkroom-0.png"
    )
    view = discord.ui.View(timeout=None)
    for action in actions:
        view.add_item(discord.ui.Button(label=action, custom_id=f"darkroom:{action}:{server.alice.id}:0"))
    channel = server.env.bot.get_channel(server.channel.id)
    return await channel.send("**red apple**", file=file, view=view)


def private_text(result):
    """The one answer that only the member sees."""
    answers = [answer for answer in (result.response, *result.followups) if answer is not None]
    assert len(answers) == 1
    assert answers[0].ephemeral
    return answers[0].content


def private_message(result):
    (answer,) = [answer for answer in (result.response, *result.followups) if answer is not None]
    assert answer.ephemeral
    return answer
