"""HTTP in (webhooks), pages out."""
