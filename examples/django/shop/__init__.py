"""A shop that notes who clicked, and does not write to who bounced."""
