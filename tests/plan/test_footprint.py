"""The peak of a piece of work and what must be free for it, which may belong to different phases."""

from llmos.plan import Footprint, Part, Phase


def test_the_phase_that_asks_for_most_free_memory_need_not_be_the_peak():
    loading = Phase(
        name="loading", parts=(Part(name="checkpoint", n_bytes=100, mapped=True), Part(name="weights", n_bytes=20))
    )
    running = Phase(
        name="running", parts=(Part(name="weights", n_bytes=20), Part(name="pages", n_bytes=5, reserved=30))
    )
    made = Footprint(held_bytes=7, phases=(loading, running))
    assert (made.peak.name, made.peak_bytes) == ("loading", 127)
    assert (made.tightest.name, made.needed_bytes) == ("running", 50)
