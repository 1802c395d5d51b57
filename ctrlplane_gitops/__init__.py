"""ctrlplane-gitops: a declarative GitOps reconciler, one application instance per customer.

Importing the package loads nothing heavy: no SDK, no YAML parser, no data model library.
"""

__version__ = "0.2.0"

__all__ = ["__version__"]
