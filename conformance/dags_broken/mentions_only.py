# airflow dag
print('mentions both, and has none')
