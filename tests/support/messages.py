"""What a message shows, and files to send in one."""

import io

from PIL import Image

from cogs.core.messages.attachments import posted_files


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
