echo "not rendered: {% raw %}{{ params.name }}{% endraw %} and {{ ds_nodash is defined }}"
