"""What a user should know of a model and that is no error."""

__all__ = ["ModelNotice"]


class ModelNotice(UserWarning):
    """What a user should know and that is no error: the model is not the one that was named, or something was left out."""
