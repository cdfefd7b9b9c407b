"""The service between the cogs and the engine: accept a request, follow its progress, deliver its pictures."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

import discord
from PIL import Image

from cogs import render, views
from diffusion.engine import Engine
from diffusion.errors import Cancelled, DarkroomError, InvalidImage
from diffusion.image import read_image, read_parameters
from diffusion.job import Job
from diffusion.request import ImageRequest

log = logging.getLogger(__name__)
Spawn = Callable[[Coroutine[Any, Any, None]], Any]
Interaction = discord.Interaction[Any]
Compose = Callable[[], Awaitable[ImageRequest]]

EDIT_SECONDS = 1.5  # Discord allows about 5 edits in 5 seconds a channel, shared by all jobs in it
PREPARING = "Preparing…"
MAX_ATTACHMENT_BYTES = 20 * 2**20


class Studio:
    """Makes pictures for interactions. Cogs and buttons only say which; ``spawn`` starts what outlives a command."""

    def __init__(self, engine: Engine, spawn: Spawn = asyncio.create_task) -> None:
        self.engine, self.spawn = engine, spawn
        self.jobs: dict[int, Job] = {}  # by the id of the interaction that asked
        self._following: set[Any] = set()

    async def close(self) -> None:
        """Stop following; unfinished jobs are cancelled."""
        for task in list(self._following):
            task.cancel()
        if self._following:
            await asyncio.wait(self._following)

    async def make(self, interaction: Interaction, compose: Compose, *, private: bool = False) -> None:
        """Acknowledge, let ``compose`` find out what is wanted, queue it, and follow it in the background.

        Errors reach the member as a sentence only they can see.
        """
        async with self.answering(interaction):
            await interaction.response.send_message(PREPARING, ephemeral=private)
            job = self.engine.submit(await compose(), owner=interaction.user.id)
            self._follow_later(interaction, job, PREPARING)

    async def make_now(self, interaction: Interaction, request: ImageRequest, *, private: bool = False) -> None:
        """Like `make` for a request that needs nothing fetched, so that the first answer tells its place already."""
        async with self.answering(interaction):
            job = self.engine.submit(request, owner=interaction.user.id)
            text = render.progress_text(request, job.progress)
            view = views.cancel_view(interaction.user.id, interaction.id)
            try:
                await interaction.response.send_message(text, view=view, ephemeral=private, allowed_mentions=render.QUIET)
            except discord.HTTPException:
                job.cancel()
                raise
            self._follow_later(interaction, job, text)

    def _follow_later(self, interaction: Interaction, job: Job, shown: str) -> None:
        self.jobs[interaction.id] = job
        task = self.spawn(self._follow(interaction, job, shown))
        # The event loop holds tasks weakly; this set keeps them until they end.
        self._following.add(task)
        task.add_done_callback(self._following.discard)

    async def _follow(self, interaction: Interaction, job: Job, shown: str) -> None:
        try:
            async with self.answering(interaction):
                await self._show_progress(interaction, job, shown)
                await self._deliver(interaction, job)
        finally:
            job.cancel()
            self.jobs.pop(interaction.id, None)

    async def _show_progress(self, interaction: Interaction, job: Job, shown: str) -> None:
        view = views.cancel_view(interaction.user.id, interaction.id)
        async for progress in job:
            text = render.progress_text(job.request, progress)
            if text != shown:
                shown = text
                files = await asyncio.to_thread(render.progress_files, job.request, progress)
                try:
                    await interaction.edit_original_response(
                        content=text, attachments=files, view=view, allowed_mentions=render.QUIET
                    )
                except discord.NotFound:  # deleted by hand: nobody waits for the pictures
                    job.cancel()
                    return
                except discord.HTTPException as error:  # progress may be missed, the result may not
                    log.warning("a progress edit failed: %s", error)
                await job.wait(EDIT_SECONDS)

    async def _deliver(self, interaction: Interaction, job: Job) -> None:
        try:
            result = await job
        except Cancelled:
            with contextlib.suppress(discord.NotFound):
                await interaction.edit_original_response(
                    content=f"{render.title(job.request)}\nCancelled.", attachments=[], view=None
                )
            return
        files = await asyncio.to_thread(render.result_files, result)
        await interaction.edit_original_response(
            content=render.result_text(result),
            attachments=files,
            view=views.result_view(interaction.user.id),
            allowed_mentions=render.QUIET,
        )

    @contextlib.asynccontextmanager
    async def answering(self, interaction: Interaction) -> AsyncIterator[None]:
        """Turn what goes wrong inside into one sentence for the member, seen by them alone."""
        try:
            yield
        except DarkroomError as error:
            await self.tell(interaction, str(error))
        except discord.HTTPException as error:
            log.warning("Discord refused an answer: %s", error)
            await self.tell(interaction, "Discord did not take my answer. Please try again.")
        except Exception:
            log.exception("an interaction failed")
            await self.tell(interaction, "Something went wrong here. Please try again.")

    async def tell(self, interaction: Interaction, sentence: str) -> None:
        """Say ``sentence`` to the member alone; an answer begun in the open is taken back first."""
        options: dict[str, Any] = {"ephemeral": True, "allowed_mentions": render.QUIET}
        try:
            if not interaction.response.is_done():
                await interaction.response.send_message(sentence, **options)
                return
            if interaction.response.type is discord.InteractionResponseType.channel_message:
                with contextlib.suppress(discord.NotFound):
                    await interaction.delete_original_response()
            await interaction.followup.send(sentence, **options)
        except discord.HTTPException as error:
            log.warning("a member could not be told %r: %s", sentence, error)


async def fetch_image(attachment: discord.Attachment) -> Image.Image:
    """Download and decode ``attachment``; raises `InvalidImage` where it is too large or no picture."""
    if attachment.size > MAX_ATTACHMENT_BYTES:
        raise InvalidImage(f"The attachment is larger than {MAX_ATTACHMENT_BYTES // 2**20} MiB. Please attach less.")
    return await asyncio.to_thread(read_image, await attachment.read())


async def recall(message: discord.Message) -> ImageRequest:
    """Read back from a result's own files what was asked for, so that it works after any restart."""
    pictures = [attachment for attachment in message.attachments if attachment.filename != render.SOURCE_NAME]
    if not pictures:
        raise InvalidImage("The pictures of this message are gone.")
    settings = await asyncio.to_thread(read_parameters, await pictures[0].read())
    source = next((attachment for attachment in message.attachments if attachment.filename == render.SOURCE_NAME), None)
    image = await fetch_image(source) if source else None
    return ImageRequest(**settings, count=len(pictures), image=image)
