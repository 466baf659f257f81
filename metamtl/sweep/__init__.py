"""Searching hyper-parameters: a study of trials, each an ordinary run, judged by validation alone."""
