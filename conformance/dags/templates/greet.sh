#!/usr/bin/env bash
# A template of its own: {{ "comments are rendered too" | upper }}
name="{{ params.name }}"
{% for number in range(3) -%}
echo "{{ number }} $name"
{% endfor -%}
{% include "part.sh" %}
echo "greeted {{ params.name }}"
