"""SMTPeter, Copernica's service for single messages, which has an API of its own.

    async with SMTPeter(token) as smtpeter:
        names = await smtpeter.logfiles(day, prefixes)

The facts come from SMTPeter's articles on its REST API. Its token stands in the URL of every call, so what makes
the calls (`transport`) keeps it out of everything but the connection.
"""

#: Where the API is.
API_URL = "https://www.smtpeter.com/v1"
