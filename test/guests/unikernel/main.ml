(* A unikernel in OCaml: ciphers and hashes of MirageOS's library, and what the language and its run-time system have of their
   own, asked for line by line. The same program, built for the system underneath, says the same. *)

open Mirage_crypto

module Numbers = Map.Make (Int)

exception Found of int

let hex text =
  String.concat "" (List.map (fun c -> Printf.sprintf "%02x" (Char.code c)) (List.of_seq (String.to_seq text)))

let digest (module H : Hash.S) text = hex (Cstruct.to_string (H.digest (Cstruct.of_string text)))

(* More than a small heap holds at once, so that it is collected, compacted and grown. *)
let collect count =
  let rec fill map i = if i = count then map else fill (Numbers.add (i * 7919 mod count) (string_of_int i) map) (i + 1) in
  let sum = ref 0 in
  for round = 1 to 4 do
    let map = fill Numbers.empty round in
    Gc.compact ();
    sum := Numbers.fold (fun key value sum -> (sum * 31 + key + String.length value) land 0xffffff) map !sum
  done;
  Printf.sprintf "%d after %d collections or more" !sum (min 4 (Gc.quick_stat ()).Gc.major_collections)

(* Exact on every processor that rounds as IEEE 754 says. *)
let floats () =
  let rec series sum i = if i = 200 then sum else series (sum +. (1. /. (float_of_int i *. sqrt (float_of_int i)))) (i + 1) in
  let value = series 0. 1 in
  Printf.sprintf "%.17g %h %.3e %d" value (value *. 1e-310) (ldexp value 900) (truncate (value *. 1e6))

let exceptions () =
  let search n = try for i = 0 to n do if i * i > 5_000_000 then raise (Found i) done; 0 with Found i -> i in
  let divided = try string_of_int (1 / (search 0 + String.length "" )) with Division_by_zero -> "no division" in
  let outside = try String.make 1 (String.get "abc" (search 10_000)) with Invalid_argument what -> what in
  Printf.sprintf "%d, %s, %s" (search 1_000_000) divided outside

let rec depth n = if n = 0 then 0 else 1 + depth (n - 1)

let marshalled () =
  let value = List.init 1000 (fun i -> (i, float_of_int i /. 3., Int64.of_int (i * i), [| string_of_int i |])) in
  let text = Marshal.to_string value [] in
  let back : (int * float * int64 * string array) list = Marshal.from_string text 0 in
  Printf.sprintf "%d bytes, %s, hash %d" (String.length text) (if back = value then "the same" else "another") (Hashtbl.hash back)

let key = Cstruct.of_string "0123456789abcdef0123456789abcdef"
let nonce = Cstruct.of_string "unikernel 01"
let adata = Cstruct.of_string "header"

let gcm text =
  let open Cipher_block.AES in
  hex (Cstruct.to_string (GCM.authenticate_encrypt ~key:(GCM.of_secret key) ~adata ~nonce (Cstruct.of_string text)))

let chacha text =
  hex (Cstruct.to_string (Chacha20.authenticate_encrypt ~key:(Chacha20.of_secret key) ~adata ~nonce (Cstruct.of_string text)))

let answer line =
  match String.index_opt line ' ' with
  | None -> (
      match line with
      | "floats" -> floats ()
      | "exceptions" -> exceptions ()
      | "marshal" -> marshalled ()
      | "depth" -> string_of_int (depth 20_000)
      | _ -> "what?")
  | Some at -> (
      let text = String.sub line (at + 1) (String.length line - at - 1) in
      match String.sub line 0 at with
      | "collect" -> collect (int_of_string text)
      | "sha256" -> digest (module Hash.SHA256) text
      | "sha512" -> digest (module Hash.SHA512) text
      | "gcm" -> gcm text
      | "chacha" -> chacha text
      | _ -> "what?")

let () =
  Printf.printf "OCaml %s, words of %d bits\n%!" Sys.ocaml_version Sys.word_size;
  try
    while true do
      match input_line stdin with
      | "quit" -> raise End_of_file
      | line -> Printf.printf "%s: %s\n%!" line (answer line)
    done
  with End_of_file -> print_endline "the end"
