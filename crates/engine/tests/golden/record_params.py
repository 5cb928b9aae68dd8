"""Records what Python's `jsonschema` says of params, as Airflow asks it, for the tests of `src/params.rs` to compare.

    python record_params.py > params.json
"""

import json
import sys

from jsonschema import FormatChecker, SchemaError, ValidationError, validate

THINGS = [None, True, 0, 3, -2, 2.5, 4.0, "", "a", "abcde", "é", [], [1, 2], [1, 1], ["a", 2], {}, {"a": 1}, {"b": "x", "c": 2}]
TEXTS = {
    "date": ["2026-01-31", "2026-02-30", "26-1-1", "2026-01-31T00:00:00"],
    "time": ["12:30:00", "24:00:00", "1:2:3", "12:30", "12:30:00Z"],
    "date-time": ["2026-01-31T12:30:00+00:00", "no"],
    "email": ["a@b", "ab", "@"], "idn-email": ["é@b", "é"],
    "ipv4": ["127.0.0.1", "256.0.0.1", "1.2.3"], "ipv6": ["::1", "1::2::3", "127.0.0.1"],
    "uuid": ["123e4567-e89b-12d3-a456-426614174000", "123e4567e89b12d3a456426614174000", "x"],
    "regex": ["a+", "(", "[a"], "uri": ["http://a/b", "no uri", "::"], "hostname": ["a.b", "-a-"],
    "duration": ["P1D", "1 day"], "json-pointer": ["/a/b", "a"], "multiline": ["x"], "unheard-of": ["x"],
}
DRAFTS = {number: f"http://json-schema.org/draft-{number:02}/schema#" for number in (4, 6, 7)}
DRAFTS[2019] = "https://json-schema.org/draft/2019-09/schema"
DRAFTS[2020] = "https://json-schema.org/draft/2020-12/schema"

SCHEMAS = [
    {}, {"type": "string"}, {"type": "integer"}, {"type": "number"}, {"type": "boolean"}, {"type": "array"}, {"type": "object"}, {"type": "null"},
    {"type": ["null", "string"]}, {"type": ["integer", "array"]}, {"type": "string", "title": "T", "description_md": "d", "section": "s"},
    {"enum": [1, "a", None]}, {"type": "string", "enum": ["a", "b"], "values_display": {"a": "A"}}, {"const": 3}, {"const": {"a": 1}}, {"const": None},
    {"minimum": 1}, {"maximum": 2}, {"exclusiveMinimum": 0}, {"exclusiveMaximum": 3}, {"multipleOf": 2}, {"multipleOf": 0.5}, {"type": "integer", "minimum": 1, "maximum": 2},
    {"minLength": 1}, {"maxLength": 1}, {"minLength": 2, "maxLength": 3}, {"pattern": "^a"}, {"pattern": "b$"}, {"type": "string", "pattern": "^[A-Z]{2,}$"},
    {"items": {"type": "integer"}}, {"items": False}, {"items": {"type": "string", "minLength": 1}}, {"prefixItems": [{"type": "string"}, {"type": "integer"}]}, {"prefixItems": [{}], "items": False},
    {"contains": {"const": 1}}, {"contains": {"type": "integer"}, "minContains": 2}, {"contains": {"type": "integer"}, "maxContains": 1}, {"uniqueItems": True}, {"minItems": 1}, {"maxItems": 1},
    {"properties": {"a": {"type": "string"}}}, {"required": ["a"]}, {"required": ["a", "b"]}, {"additionalProperties": False}, {"properties": {"a": {}}, "additionalProperties": False},
    {"additionalProperties": {"type": "integer"}}, {"patternProperties": {"^b": {"type": "integer"}}}, {"patternProperties": {"^a": {}}, "additionalProperties": False}, {"propertyNames": {"maxLength": 0}},
    {"propertyNames": {"enum": ["a"]}}, {"minProperties": 1}, {"maxProperties": 1}, {"dependentRequired": {"b": ["a"]}}, {"dependentSchemas": {"b": {"required": ["a"]}}},
    {"allOf": [{"type": "integer"}, {"minimum": 1}]}, {"anyOf": [{"type": "string"}, {"type": "integer"}]}, {"anyOf": [{"required": ["a"]}, {"minItems": 1, "type": "array"}]},
    {"oneOf": [{"type": "number"}, {"type": "integer"}]}, {"oneOf": [{"type": "string"}, {"type": "null"}]}, {"not": {"type": "string"}}, {"not": {}},
    {"if": {"type": "string"}, "then": {"minLength": 2}, "else": {"type": "integer"}}, {"if": {"minimum": 0}, "then": {"multipleOf": 3}},
    {"$ref": "#/$defs/small", "$defs": {"small": {"type": "integer", "maximum": 1}}}, {"$defs": {"node": {"type": "object", "additionalProperties": {"$ref": "#/$defs/node"}}}, "$ref": "#/$defs/node"},
    {"properties": {"a": {}}, "unevaluatedProperties": False}, {"prefixItems": [{}], "unevaluatedItems": False}, {"allOf": [{"properties": {"b": {}}}], "unevaluatedProperties": {"type": "string"}},
    {"type": "array", "items": {"type": "object", "required": ["x"], "properties": {"x": {"type": "integer"}}}}, {"type": "nonsense"}, {"minimum": "x"}, {"pattern": "("},
    {"$schema": DRAFTS[4], "minimum": 2, "exclusiveMinimum": True}, {"$schema": DRAFTS[4], "items": [{"type": "integer"}], "additionalItems": False}, {"$schema": DRAFTS[6], "const": 3},
    {"$schema": DRAFTS[7], "items": [{"type": "integer"}, {"type": "integer"}], "additionalItems": {"type": "string"}}, {"$schema": DRAFTS[7], "dependencies": {"b": ["a"]}}, {"$schema": DRAFTS[7], "dependencies": {"b": {"required": ["c"]}}},
    {"$schema": DRAFTS[7], "definitions": {"t": {"type": "string"}}, "$ref": "#/definitions/t"}, {"$schema": DRAFTS[2019], "items": [{"type": "integer"}], "unevaluatedItems": False}, {"$schema": DRAFTS[2020], "type": "integer"},
    {"$schema": "urn:unheard-of", "type": "integer"},
]


def said(schema, value):
    """What is said of a value: nothing, a text, or that the schema is wrong."""
    try:
        validate(value, schema, format_checker=FormatChecker())
    except ValidationError as error:
        return str(error)
    except SchemaError:
        return False
    return None


def main():
    cases = [(schema, value) for schema in SCHEMAS for value in THINGS]
    cases += [({"type": "string", "format": name}, text) for name, texts in TEXTS.items() for text in texts]
    cases += [({"format": "date"}, value) for value in (None, 5)]
    nested = {"type": "array", "items": {"type": "object", "required": ["x"], "properties": {"x": {"type": "integer"}}}}
    cases += [(nested, value) for value in ([{"x": 1}], [{"x": "1"}], [{}, {"x": "y"}], [1], [{"x": None}])]
    cases += [({"additionalProperties": False}, {"it's": 1, "b": 2}), ({"enum": ["it's"]}, "\"x\"\n"), ({"type": "integer"}, "x" * 300), ({"maxItems": 1}, list(range(40)))]
    lines = [json.dumps([schema, value, said(schema, value)], ensure_ascii=False) for schema, value in cases]
    sys.stdout.write("[\n" + ",\n".join(lines) + "\n]\n")


if __name__ == "__main__":
    main()
