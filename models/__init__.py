"""What is known: tables, facts, policy, decline codes, the send gate's rules. Pure; nothing here calls the world."""
