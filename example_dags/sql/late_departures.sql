-- Half-open, and as far as the data has surely come: rows that arrive late are in the next run's window.
SELECT time_hour, carrier, flight, origin, dest, dep_delay
FROM flights
WHERE dep_delay >= {{ params.late }}
  AND time_hour >= '{{ params.start }}'
  AND time_hour < '{{ params.end }}'
ORDER BY time_hour, carrier, flight
