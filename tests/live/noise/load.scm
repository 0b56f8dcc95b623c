;; SPDX-License-Identifier: GPL-2.0-only
;; Threads that make garbage: the Boehm collector stops them.
(use-modules (ice-9 threads))

(define end (+ (get-internal-real-time)
               (* (string->number (cadr (command-line))) internal-time-units-per-second)))

(define (churn)
  (when (< (get-internal-real-time) end)
    (make-vector 1000 0)
    (churn)))

(for-each join-thread (map (lambda (_) (call-with-new-thread churn)) (iota 4)))
(display "done\n")
