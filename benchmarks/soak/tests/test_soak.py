"""A short soak test: the bot answers each request once while a member floods it."""

from benchmarks.soak.run import soak


async def test_soak_answers_every_request_once(tmp_path, tiny_folder, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("MAX_WAITING", "16")  # so that some are refused
    findings = await soak(20, 8, 0.3, tmp_path, str(tiny_folder), side=32)
    findings.print_report()
    assert list(findings.missed_goals()) == []
    assert {request.member.id == findings.flooder for request in findings.requests if request.pictures} == {True, False}
