café = 1  # airflow dag
