//! The program `byhand`.

fn main() -> std::process::ExitCode {
    byhand_cli::main()
}
