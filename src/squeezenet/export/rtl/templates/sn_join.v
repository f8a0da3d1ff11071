// Two streams become one, element by element: limit((a * A + b * B + 32768) >> 16), or, with PRODUCT,
// limit((a * b * A + (1 << (SHIFT - 1))) >> SHIFT).
module sn_join #(
    parameter S = 1,
    parameter XA = 8, parameter SIGNED_A = 0, parameter XB = 8, parameter SIGNED_B = 0,
    parameter PRODUCT = 0,
    parameter FB = 17,  // bits of the factors
    parameter [FB-1:0] A = 0, parameter [FB-1:0] B = 0,
    parameter SHIFT = 16,
    parameter X = 8, parameter signed [31:0] LOW = 0, parameter signed [31:0] HIGH = 255
) (
    input wire clk,
    input wire rst,
    input wire a_valid, output wire a_ready, input wire [S*XA-1:0] a_data,
    input wire b_valid, output wire b_ready, input wire [S*XB-1:0] b_data,
    output wire out_valid, input wire out_ready, output wire [S*X-1:0] out_data
);
    localparam PB = (PRODUCT != 0 ? XA + XB + 2 : XA > XB ? XA + 2 : XB + 2) + FB + 2;
    localparam WB = PB > SHIFT ? PB : SHIFT + 1;
    localparam [WB-1:0] HALF = {{(WB-1){1'b0}}, 1'b1} << (SHIFT - 1);
    reg [4:0] room;
    wire send = a_valid && b_valid && room != 0;
    wire pop = out_valid && out_ready;
    assign a_ready = send;
    assign b_ready = send;
    wire done;
    /* verilator lint_off UNUSED */
    wire never_full;
    /* verilator lint_on UNUSED */
    reg [S*X-1:0] result;
    sn_flag #(.N(4)) flag (.clk(clk), .rst(rst), .enable(1'b1), .in(send), .out(done));
    genvar i;
    generate
        for (i = 0; i < S; i = i + 1) begin : element
            wire [XA-1:0] a = a_data[i*XA +: XA];
            wire [XB-1:0] b = b_data[i*XB +: XB];
            reg signed [XA:0] a1;
            reg signed [XB:0] b1;
            reg signed [WB-1:0] a2, b2, s3;
            wire signed [WB-1:0] whole = s3 >>> SHIFT;
            /* verilator lint_off WIDTH */
            localparam signed [WB+31:0] TOP = HIGH, BOTTOM = LOW;
            /* verilator lint_on WIDTH */
            wire signed [WB+31:0] value = {{32{whole[WB-1]}}, whole};
            always @(posedge clk) begin
                a1 <= {SIGNED_A != 0 && a[XA-1], a};
                b1 <= {SIGNED_B != 0 && b[XB-1], b};
                s3 <= PRODUCT != 0 ? a2 + $signed(HALF) : a2 + b2 + $signed(HALF);
                result[i*X +: X] <= value > TOP ? TOP[X-1:0] : value < BOTTOM ? BOTTOM[X-1:0] : value[X-1:0];
            end
            /* verilator lint_off WIDTH */
            if (PRODUCT != 0) begin : product
                always @(posedge clk) begin
                    a2 <= a1 * b1 * $signed({1'b0, A});
                    b2 <= 0;
                end
            end else begin : sum
                always @(posedge clk) begin
                    a2 <= a1 * $signed({1'b0, A});
                    b2 <= b1 * $signed({1'b0, B});
                end
            end
            /* verilator lint_on WIDTH */
        end
    endgenerate
    always @(posedge clk)
        if (rst) room <= 5'd16;
        else if (send && !pop) room <= room - 1;
        else if (pop && !send) room <= room + 1;
    sn_fifo #(.W(S*X)) fifo (
        .clk(clk), .rst(rst), .in_valid(done), .in_ready(never_full), .in_data(result),
        .out_valid(out_valid), .out_ready(out_ready), .out_data(out_data));
endmodule
