"""Evaluation: metrics, baselines, and everything that is measured about a model."""

from nca_lib.evaluation.evaluate import evaluate

__all__ = ["evaluate"]
