"""A pretend outside world (Stripe, SendGrid, the customer's own product) served over real HTTP on 127.0.0.1."""
