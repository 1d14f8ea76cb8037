"""The device library: a pure session (`session.py`), an outbox that forgets nothing, and the life around them."""
