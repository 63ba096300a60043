"""Random load for a minute, and the roles and servers killed under it."""

import pytest

from harness.churn import Churn
from harness.listener import Listener, assert_every_event_is_told
from harness.sampler import Sampler
from harness.store import Store
from harness.stream import Recorder, assert_same_story


@pytest.mark.timeout(240)
def test_a_minute_of_it(own_stack, containers):
    stack = own_stack
    sampler = Sampler(Store(stack.redis.client(), stack.node))
    with Listener(containers.address) as listener, Recorder(stack.nats.url) as recorder, sampler:
        with Churn(containers) as churn:
            churn.keep_on(60)
        entries, story = stack.wait_settled()
    assert story.epochs == [1]
    assert not story.stamp_gaps, f"stamps are lost: {[gap.stamp for gap in story.stamp_gaps]}"
    assert not story.engine_gaps, f"events are lost: {[str(gap.record.gap) for gap in story.engine_gaps]}"
    assert not sampler.steps_back and sampler.samples > 20
    assert_same_story(recorder.entries, entries)
    assert_every_event_is_told(listener.events, entries)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("victim", ["producer", "sequencer", "projector", "nats", "redis"])
def test_killed_twice_under_load(own_stack, containers, victim):
    stack = own_stack
    killed = getattr(stack, victim)
    sampler = Sampler(Store(stack.redis.client(), stack.node))
    with Listener(containers.address) as listener, Recorder(stack.nats.url) as recorder, sampler:
        with Churn(containers) as churn:
            for _ in range(2):
                churn.keep_on(6)
                killed.kill()
                churn.keep_on(2)
                killed.start()
            churn.keep_on(6)
        entries, story = stack.wait_settled(within=40)
    assert not sampler.steps_back, sampler.steps_back
    assert_same_story(recorder.entries, entries)
    if victim == "producer":
        assert story.epochs == [1, 2, 3]
        # What it had not sent is lost with it, and a gap at the next hello stands for it; the stamps go on after it.
        assert all(gap.stamp.endswith("-") for gap in story.stamp_gaps), [gap.stamp for gap in story.stamp_gaps]
    else:
        assert story.epochs == [1]
        assert not story.stamp_gaps, f"stamps are lost: {[gap.stamp for gap in story.stamp_gaps]}"
        assert_every_event_is_told(listener.events, entries)
    for role in stack.roles:
        role.wait_ready()
