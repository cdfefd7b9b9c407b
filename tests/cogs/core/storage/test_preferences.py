import pytest
from sqlalchemy import text

from cogs.core.request.preferences import FlaggedAction, Preferences, Scope, from_json, layered, to_json
from cogs.core.storage.database import Database, DatabaseUnavailableError
from cogs.core.storage.preferences import PreferenceStore
from diffusion.errors import InvalidRequestError

EVERYTHING = Preferences(
    size="512x768",
    steps=30,
    guidance=4.5,
    sampler="ddim",
    style="flat",
    spoiler=True,
    private=False,
    language="de",
    max_size=768,
    max_steps=40,
    max_count=2,
    channels=(2**62,),
    roles=(5, 6),
    allowance=50,
    allowances={2**62: 100},
    words=("bad",),
    expressions=("b+",),
    flagged=FlaggedAction.SPOILER,
    flagged_restricted=FlaggedAction.ALLOW,
    moderators=2**62,
    remix=False,
)


def test_layered_takes_the_nearest_value():
    mine, channel, server = Preferences(steps=30), Preferences(steps=20, style="flat"), Preferences(style="ink", sampler="lms")
    assert layered([mine, channel, server]) == Preferences(steps=30, style="flat", sampler="lms")


def test_layered_takes_false_as_a_value():
    assert layered([Preferences(spoiler=False), Preferences(spoiler=True)]).spoiler is False


def test_layered_takes_the_lowest_maximum():
    channel, server = Preferences(max_steps=50, max_count=1), Preferences(max_steps=30)
    assert layered([channel, server]) == Preferences(max_steps=30, max_count=1)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"steps": 0}, "steps must be a number from 1 to 150"),
        ({"guidance": float("nan")}, "guidance must be a number from 0 to 30"),
        ({"max_steps": 151}, "max steps must be a number from 1 to 150"),
        ({"allowance": -1}, "allowance must be a number from 0"),
        ({"allowances": {5: -1}}, "allowance must be a number from 0"),
        ({"sampler": "no such"}, "sampler must be one of"),
        ({"language": "xx"}, "language must be one of en, de"),
        ({"size": "big"}, "width x height"),
        ({"style": "x" * 101}, "100 characters"),
    ],
)
def test_preferences_reject_values_out_of_range(values, words):
    with pytest.raises(InvalidRequestError, match=words):
        Preferences(**values)


def test_from_json_inverts_to_json():
    assert from_json(to_json(EVERYTHING)) == EVERYTHING
    assert to_json(Preferences()) == {}
    assert from_json({"of another version": 1}) == Preferences()


async def test_set_survives_a_restart_until_cleared(database_url):
    async with Database(database_url) as database:
        preference_store = PreferenceStore(database)
        await preference_store.set(Scope.SERVER, 2**62, EVERYTHING)
        await preference_store.set(Scope.SERVER, 2**62, EVERYTHING.with_(steps=None))
        await preference_store.set(Scope.MEMBER, 7, Preferences(steps=9))
    async with Database(database_url) as database:
        preference_store = PreferenceStore(database)
        await preference_store.open()
        assert preference_store.get(Scope.SERVER, 2**62) == EVERYTHING.with_(steps=None)
        assert preference_store.get(Scope.CHANNEL, 2**62) == Preferences()
        await preference_store.set(Scope.MEMBER, 7, Preferences())
        again = PreferenceStore(database)
        await again.open()
        assert again.get(Scope.MEMBER, 7) == preference_store.get(Scope.MEMBER, 7) == Preferences()


async def test_open_skips_unreadable_preferences(database_url, caplog):
    async with Database(database_url) as database:
        preference_store = PreferenceStore(database)
        await preference_store.set(Scope.MEMBER, 7, Preferences(steps=9))
        async with database.sessions.begin() as session:
            await session.execute(text("""INSERT INTO preferences VALUES ('member', 8, '{"steps": "many"}')"""))
        await preference_store.open()
        assert preference_store.get(Scope.MEMBER, 8) == Preferences() and preference_store.get(Scope.MEMBER, 7).steps == 9
    assert "member 8" in caplog.text


async def test_refresh_skips_unknown_scopes(postgresql):
    async with Database(postgresql.create_database()) as database:
        preference_store, other = PreferenceStore(database), PreferenceStore(database)
        await preference_store.open()
        await other.set(Scope.MEMBER, 7, Preferences(steps=9))
        async with database.sessions.begin() as session:
            await session.execute(text("INSERT INTO preference_changes VALUES ('planet', 8, extract(epoch FROM now()))"))
            await session.execute(text("INSERT INTO preferences VALUES ('planet', 8, '{}')"))
        await preference_store.refresh()
        assert preference_store.get(Scope.MEMBER, 7).steps == 9


async def test_set_changes_nothing_when_the_database_fails(database_url):
    async with Database(database_url) as database:
        preference_store = PreferenceStore(database)
        await preference_store.set(Scope.MEMBER, 7, Preferences(steps=9))
        async with database.sessions.begin() as session:
            await session.execute(text("DROP TABLE preferences"))
        with pytest.raises(DatabaseUnavailableError, match="try again later"):
            await preference_store.set(Scope.MEMBER, 7, Preferences(steps=10))
        assert preference_store.get(Scope.MEMBER, 7).steps == 9
        with pytest.raises(DatabaseUnavailableError):
            await preference_store.open()
