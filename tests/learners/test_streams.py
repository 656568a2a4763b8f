import torch

from learners.streams import Streams

RECORDED = 5917367194966227201
RECORDED_DRAW = 0.8769993160882804
CPU = torch.device("cpu")


def test_a_stream_depends_on_its_name_alone_and_not_on_other_draws():
    first = Streams(3).torch(CPU, "noise", 1, 2)
    other = Streams(3).torch(CPU, "noise", 1, 3)
    torch.rand(100, generator=other)
    assert torch.equal(torch.rand(5, generator=first), torch.rand(5, generator=Streams(3).torch(CPU, "noise", 1, 2)))


def test_seed_purpose_and_every_index_matter():
    keys = {
        Streams(0).key("noise", 1, 2),
        Streams(1).key("noise", 1, 2),
        Streams(0).key("nois", 1, 2),
        Streams(0).key("noise", 2, 1),
        Streams(0).key("noise", 12),
        Streams(0).key("noise", 1, 2, 0),
    }
    assert len(keys) == 6


def test_keys_are_the_same_in_every_process_and_version():
    """Recorded values: a change here changes every run."""
    assert Streams(0).key("collection", 1, 0) == RECORDED
    assert Streams(0).numpy("collection", 1, 0).random() == RECORDED_DRAW
