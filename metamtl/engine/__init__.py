"""Runs learners over the task axis and returns exact meta-gradients."""
