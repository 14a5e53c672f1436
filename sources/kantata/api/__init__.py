"""The HTTP side of the Kantata API: requests, responses, errors."""
