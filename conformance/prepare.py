#!/usr/bin/env python3
"""Creates the pools, variables and connections that the Dags of `dags/` use, through the REST API.

    prepare.py --url http://localhost:8080

What is there already stays as it is. Standard library only.
"""

import argparse
import urllib.error

from record import Client

WANTED = {
    "pools": [
        {"name": "own_single", "slots": 1},
        {"name": "own_pair", "slots": 2},
    ],
    "variables": [
        {"key": "own_text", "value": "some text"},
        {"key": "own_json", "value": '{"list": [1, "two"], "name": "a name"}'},
    ],
    "connections": [
        {"connection_id": "own_files", "conn_type": "fs"},
        {
            "connection_id": "own_http",
            "conn_type": "http",
            "host": "example.test",
            "port": 8080,
            "login": "me",
            "password": "a password",
            "schema": "https",
            "extra": '{"flag": "on"}',
        },
    ],
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", required=True)
    parser.add_argument("--user", default="admin")
    parser.add_argument("--password", default="admin")
    args = parser.parse_args()
    api = Client(args.url, args.user, args.password)
    for kind, bodies in WANTED.items():
        for body in bodies:
            try:
                api("POST", f"/api/v2/{kind}", body)
            except urllib.error.HTTPError as error:
                if error.code != 409:
                    raise


if __name__ == "__main__":
    main()
