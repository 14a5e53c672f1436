"""The wire: requests, answers and errors of the Kantata API."""
