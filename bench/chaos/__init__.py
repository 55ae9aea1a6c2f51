"""`make chaos`: thousands of real cases while everything they run on is killed, stopped and cut off."""
