"""The nouns of the project. Standard library, numpy and pydantic only."""
