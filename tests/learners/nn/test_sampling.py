import torch

from learners.nn.sampling import sample_categorical, uniforms


def test_a_uniform_picks_the_first_index_whose_cumulative_probability_exceeds_it():
    logits = torch.tensor([0.5, 0.25, 0.25]).log().expand(5, 3)
    samples = sample_categorical(logits, torch.tensor([0.0, 0.4, 0.5, 0.74, 0.76]))
    assert samples.tolist() == [0, 0, 1, 1, 2]


def test_every_sample_is_a_valid_index_even_at_the_largest_uniform():
    torch.manual_seed(0)
    logits = torch.randn(10_000, 37) * 5
    largest = torch.full((10_000,), 1.0 - 2.0**-24)
    assert sample_categorical(logits, largest).max() <= 36


def test_an_impossible_index_is_never_drawn():
    logits = torch.tensor([0.0, -torch.inf, 0.0, -torch.inf]).expand(4096, 4)
    samples = sample_categorical(logits, uniforms((4096,), torch.Generator().manual_seed(0)))
    assert set(samples.tolist()) == {0, 2}


def test_frequencies_are_the_softmax():
    logits = torch.tensor([1.0, 0.0, -1.0, 2.0])
    count = 200_000
    samples = sample_categorical(logits.expand(count, 4), uniforms((count,), torch.Generator().manual_seed(1)))
    frequencies = torch.bincount(samples, minlength=4) / count
    standard_errors = (logits.softmax(0) * (1 - logits.softmax(0)) / count).sqrt()
    assert ((frequencies - logits.softmax(0)).abs() < 4 * standard_errors).all()
