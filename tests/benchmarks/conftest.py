import torch

# Tests compute on tensors of a few kilobytes: a second thread costs more than it computes, and far more than that
# beside another busy process.
torch.set_num_threads(1)
