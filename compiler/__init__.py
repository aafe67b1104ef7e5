"""Checked graph to torch.fx, passes, plan and emitted Python."""
