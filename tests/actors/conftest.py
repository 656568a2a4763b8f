import torch

# As in tests/learners: small tensors, one thread.
torch.set_num_threads(1)
