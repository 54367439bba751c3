"""At home in frameworks: what nobody needs who does not use them, and nothing else imports."""
