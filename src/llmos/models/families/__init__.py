"""One file per family of models: how its config.json becomes a Spec and where its weights are found."""
