"""Distils from Airflow's OpenAPI document what a body must have: names, types and whether null is allowed.

    python distil_openapi.py > openapi.json
"""

import json
import pathlib

import airflow.api_fastapi.core_api.openapi as openapi
import yaml

DOCUMENT = yaml.safe_load((pathlib.Path(openapi.__file__).parent / "v2-rest-api-generated.yaml").read_text())


def shape(schema):
    """A type as a list of words: JSON types, `#NAME` for a schema, and a list for the items of an array."""
    if "$ref" in schema:
        return ["#" + schema["$ref"].rsplit("/", 1)[1]]
    for name in ("anyOf", "oneOf"):
        if name in schema:
            return [word for part in schema[name] for word in shape(part)]
    if schema.get("type") == "array":
        return [shape(schema.get("items", {}))]
    if schema.get("format") in ("date-time", "uuid"):
        return [schema["format"]]
    return [schema["type"]] if "type" in schema else ["any"]


def main():
    operations, schemas, waiting = {}, {}, []
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            for status, reply in operation.get("responses", {}).items():
                body = reply.get("content", {}).get("application/json", {}).get("schema")
                if status.startswith("2") and body:
                    operations[f"{method.upper()} {path}"] = shape(body)
                    waiting.append(json.dumps(shape(body)))
    while waiting:
        for word in waiting.pop().replace('"', " ").split():
            name = word.removeprefix("#")
            if word.startswith("#") and name not in schemas:
                schema = DOCUMENT["components"]["schemas"][name]
                # A model that takes further fields says nothing about those of a body.
                if schema.get("type") != "object" or "properties" not in schema or schema.get("additionalProperties"):
                    schemas[name] = {"is": shape(schema)}
                    continue
                schemas[name] = {"fields": {field: shape(kind) for field, kind in schema["properties"].items()}}
                waiting.append(json.dumps(schemas[name]))
    print(json.dumps({"operations": operations, "schemas": dict(sorted(schemas.items()))}, indent=0, sort_keys=True))


if __name__ == "__main__":
    main()
