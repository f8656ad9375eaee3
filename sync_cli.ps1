# Runs a command of the mirror: .\sync_cli.ps1 status, initial-sync, incremental-sync, daemon, test, help.
# In the container of the Compose service sync-service where that runs, else from the checkout.
Set-Location -Path $PSScriptRoot
$command = if ($args.Count -eq 0) { @('help') } else { $args }
$env:COMPOSE_PROFILES = 'mirror'

# The command of Compose: the plugin of docker, else docker-compose. Nothing where neither is there.
function Find-Compose {
    if (Get-Command docker -ErrorAction SilentlyContinue) {
        docker compose version *> $null
        if ($LASTEXITCODE -eq 0) { return @('docker', 'compose') }
    }
    if (Get-Command docker-compose -ErrorAction SilentlyContinue) { return @('docker-compose') }
}

function Invoke-Compose {
    $rest = @($compose | Select-Object -Skip 1) + $args
    & $compose[0] @rest
}

$container = $null
$compose = @(Find-Compose)
if ($compose.Count -gt 0 -and (Test-Path compose/env/mirror-events.env)) {
    $container = Invoke-Compose ps -q sync-service 2> $null | Select-Object -First 1
}
if ($container -and (docker inspect --format '{{.State.Running}}' $container 2> $null) -eq 'true') {
    $terminal = if ([Console]::IsInputRedirected -or [Console]::IsOutputRedirected) { @('-T') } else { @() }
    Invoke-Compose exec @terminal sync-service drover mirror @command
} elseif ($env:OS -eq 'Windows_NT') {
    if (-not (Test-Path packages/cli/bundle/main.js)) {
        Write-Error 'not built yet: run npm ci, then npm run build'
        exit 1
    }
    node packages/cli/bundle/main.js mirror @command
} else {
    & "$PSScriptRoot/drover" mirror @command
}
exit $LASTEXITCODE
