from benchmarks.capacity.rehearsal import rehearse
from benchmarks.capacity.trace import HOUR_SECONDS, PEAK_HOUR, Community


async def test_rehearse_plays_a_trace_to_engine_and_simulation_alike(tiny_model):
    community = Community(80_000, tiny_model.sample_side, tiny_model.latent_factor)
    trace = list(community.trace(PEAK_HOUR, PEAK_HOUR + 4 / HOUR_SECONDS))
    engine, simulation = await rehearse(tiny_model, trace, max_rows=4)
    for play in (engine, simulation):
        assert len(play.start_delays) == len(play.waits) == len(trace) > 1
        assert all(0 <= start_delay < wait for start_delay, wait in zip(play.start_delays, play.waits, strict=True))
        assert play.makespan >= trace[-1].at - trace[0].at
