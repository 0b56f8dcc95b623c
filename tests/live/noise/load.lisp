;; SPDX-License-Identifier: GPL-2.0-only
;; Threads that make garbage: the collector stops them.
(defvar *end* (+ (get-internal-real-time)
                 (* (read-from-string (car (last sb-ext:*posix-argv*)))
                    internal-time-units-per-second)))
(defvar *kept* nil)

(defun churn ()
  (loop while (< (get-internal-real-time) *end*)
        do (setf *kept* (make-array 10000))))

(mapc #'sb-thread:join-thread
      (loop repeat 4 collect (sb-thread:make-thread #'churn)))
(format t "done~%")
(finish-output)
(sb-ext:exit :code 0 :abort t)
