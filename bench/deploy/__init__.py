"""A deploy while runs sleep: real workers, the real server, every kind of edit of docs/authoring.md's table."""
