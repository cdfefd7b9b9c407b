from benchmarks.capacity.rehearsal import rehearse
from benchmarks.capacity.trace import HOUR, PEAK, Community


async def test_rehearse_plays_a_trace_to_engine_and_simulation_alike(tiny_model):
    trace = list(Community(80_000, tiny_model.sample_side, tiny_model.latent_factor).trace(PEAK, PEAK + 4 / HOUR))
    engine, simulation = await rehearse(tiny_model, trace, max_rows=4)
    for play in (engine, simulation):
        assert len(play.begun) == len(play.waits) == len(trace) > 1
        assert all(0 <= begun < wait for begun, wait in zip(play.begun, play.waits, strict=True))
        assert play.makespan >= trace[-1].at - trace[0].at
