"""All stores of one process, built together."""

from dataclasses import dataclass
from typing import Self

from cogs.core.storage.broadcasts import Broadcasts
from cogs.core.storage.claims import Claims
from cogs.core.storage.creations import CreationStore
from cogs.core.storage.database import Database
from cogs.core.storage.gallery import Gallery
from cogs.core.storage.images import ImageStore
from cogs.core.storage.jams import JamStore
from cogs.core.storage.lease import Lease
from cogs.core.storage.personal_data import PersonalData
from cogs.core.storage.preferences import PreferenceStore
from cogs.core.storage.reviews import ReviewStore
from cogs.core.storage.servers import ServerStore
from cogs.core.storage.stars import StarStore
from cogs.core.storage.step_journal import StepJournal
from cogs.core.storage.usage import QuotaStore


@dataclass(frozen=True)
class Stores:
    """What a process reads and writes: the tables of a database, and pictures."""

    database: Database
    lease: Lease
    claims: Claims
    broadcasts: Broadcasts
    creation_store: CreationStore
    gallery: Gallery
    preference_store: PreferenceStore
    quota_store: QuotaStore
    review_store: ReviewStore
    star_store: StarStore
    jam_store: JamStore
    image_store: ImageStore
    personal_data: PersonalData
    server_store: ServerStore
    step_journal: StepJournal

    @classmethod
    def of(
        cls,
        database: Database,
        image_store: ImageStore,
        lease: Lease | None = None,
        step_journal: StepJournal | None = None,
    ) -> Self:
        """Return the stores of the process that holds ``lease``.

        Without a lease, the process is the only one. Without ``step_journal``, it does not find out what crashes it.
        """
        lease = lease or Lease(database)
        creation_store = CreationStore(database, lease)
        preference_store = PreferenceStore(database)
        personal_data = PersonalData(database, preference_store, image_store)
        return cls(
            database=database,
            lease=lease,
            claims=Claims(database, lease),
            broadcasts=Broadcasts(database, lease),
            creation_store=creation_store,
            gallery=Gallery(database),
            preference_store=preference_store,
            quota_store=QuotaStore(database),
            review_store=ReviewStore(database),
            star_store=StarStore(database),
            jam_store=JamStore(database),
            image_store=image_store,
            personal_data=personal_data,
            server_store=ServerStore(database, preference_store, personal_data.erasure),
            step_journal=step_journal or StepJournal(),
        )
