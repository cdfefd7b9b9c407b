"""The soak of ``python -m benchmarks.soak`` in short: many members, one of whom floods, and each request answered once."""

from benchmarks.soak.run import soak


async def test_soak_answers_every_request_once(tmp_path, tiny_folder, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("MAX_WAITING", "16")  # so that some are refused
    findings = await soak(20, 8, 0.3, tmp_path, str(tiny_folder), side=32)
    findings.tell()
    assert list(findings.missed()) == []
    assert {asked.member.id == findings.flooder for asked in findings.asked if asked.pictures} == {True, False}
