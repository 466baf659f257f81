"""metamtl: multi-task meta-learning, few-shot adaptation and knowledge transfer as one composition."""

__version__ = "0.1.0"
